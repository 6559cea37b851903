"""The model description language, and the loading and checking of model files."""
