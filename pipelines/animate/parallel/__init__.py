"""One job on several devices: a process for each, all of one machine."""
