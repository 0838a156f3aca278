"""What can be asked, in SQL that both databases understand."""
