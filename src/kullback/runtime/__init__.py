"""What runs underneath: compiled programs that are kept, random keys, files, and where numbers are logged."""
