"""Infrastructure: the cache of compiled programs, random keys, files, and loggers."""
