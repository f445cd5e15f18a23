"""Stop 4: what guests and account holders meet in the browser. Works without JavaScript; GET changes nothing."""
