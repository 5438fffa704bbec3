"""Arrays in, float out. Knows neither models nor tasks; imports numpy and nothing heavier."""
