"""The chart on a real cluster: installed from its package, upgraded, confined, uninstalled."""
