"""What recommends a few candidates a user, for a ranker to order. Most lists are short."""
