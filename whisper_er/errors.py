class UserError(ValueError):
    """The user's data, configuration or options are wrong.

    The message is one line: what is wrong, where, what is allowed, what to do. Entry points print it and exit 1;
    any other exception is a defect of ours and keeps its traceback.
    """
