"""Arrays, devices, files, memory and threads: what every room needs and no paper is about."""
