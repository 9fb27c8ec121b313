"""Rules that return an `Estimate` where no exact form exists, one rule a file, and what they share.

To add one, write a file here and import it in `kullback/catalogue.py`.
"""
