"""Rules that return an `Estimate` where no exact form exists, one rule a file."""
