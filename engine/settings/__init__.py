"""Every setting, its checks, and the files that it stands in."""
