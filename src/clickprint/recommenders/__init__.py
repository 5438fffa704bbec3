"""From a past to what each user will buy next: candidates, their ranking, whom to ask."""
