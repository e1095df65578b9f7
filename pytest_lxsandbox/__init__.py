"""The pytest plugin of lxsandbox: fixtures, markers, options and reports over the runtime in `lxsandbox`."""
