"""What commands do that is the work of no other room; imported only once what was typed is known to be right."""
