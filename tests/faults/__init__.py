"""Disks that fail on purpose, as SQLite sees them: power cuts, full disks, syncs that do not sync."""
