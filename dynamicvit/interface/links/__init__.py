"""Links that reopen the page as it was: what the address asks for, checked, and the address of what is shown."""
