"""How requests become passes: admission, lanes, the batch cut, the worker."""
