"""Jobs and the schedules that start them."""
