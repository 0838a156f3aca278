"""Sessions and what they own: lifecycle, chats, pool, clean-up, analytics, persistence."""
