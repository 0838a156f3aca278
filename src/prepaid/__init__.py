"""AI sessions that are paid before they are used."""
