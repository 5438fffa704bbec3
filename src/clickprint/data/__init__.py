"""Tables: reading logs, cutting them by time, counting. Imports no torch."""
