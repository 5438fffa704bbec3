"""Profiles to scores. A score cannot depend on how a profile was made: this package must not import encoders."""
