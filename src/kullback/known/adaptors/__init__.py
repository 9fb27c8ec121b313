"""One file for each kind of object that users have: a test for the kind, and a reading of it into `Known`."""
