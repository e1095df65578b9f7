"""`lxsandbox image`: what is in this user's store of images, and what goes into it and out of it. One module a command."""
