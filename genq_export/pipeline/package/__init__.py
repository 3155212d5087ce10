"""A build in the form in which Hugging Face's libraries load models."""
