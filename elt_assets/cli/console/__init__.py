"""What commands share: output, progress, signals, arguments and exit statuses."""
