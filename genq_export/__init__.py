"""genq-export: quantize and deploy vision networks without their training data."""
