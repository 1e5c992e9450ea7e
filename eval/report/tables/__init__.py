"""One file a table: what it collects and which columns it has."""
