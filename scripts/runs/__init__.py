"""One run: its loop, directory, evaluation, tables and figures."""
