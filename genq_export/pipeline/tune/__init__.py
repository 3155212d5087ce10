"""`genq-export tune`: the best build of a network under conditions, found by building few of the many possible ones."""
