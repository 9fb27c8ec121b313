"""The exact forms, one file for each group of distributions; `FILES` in `exact/table.py` lists them.

A file gives `KL`, from pairs of kinds to forms, and `ENTROPY`, from kinds to forms: functions of the distributions
alone, which are compiled. Where a form exists only under a condition on parameters, or needs a number of terms that is
known before compiling, the file gives in `BUILD_KL` and `BUILD_ENTROPY` a function that returns the form ready to be
called, or None.

To add a form, write the function in a file here and a line in that file's `KL`; a new file also goes into `FILES`. A
form of two kinds stands with either of them.
"""
