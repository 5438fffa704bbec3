"""Datasets in the forms of other tools, to run those on the same log and the same split."""

CHALLENGE, RECBOLE = "challenge directory", "RecBole export"  # what their folders' marks say
