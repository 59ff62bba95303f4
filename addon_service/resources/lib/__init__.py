"""The code of the service addon."""
