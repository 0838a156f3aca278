"""A whole database, carried elsewhere and compared: moved to another, backed up, restored, checked."""
