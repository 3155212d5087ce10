"""Any QDQ file of any tool, held against its own graph in float."""
