"""What a command printed."""


def one_line(capsys) -> str:
    """An error: one line on stderr, and nothing else."""
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("kullback: ")
    assert printed.err.count("\n") == 1
    return printed.err
