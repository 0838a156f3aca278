"""Where everything is kept: operations as data, group commit, and one database each in its folder."""
