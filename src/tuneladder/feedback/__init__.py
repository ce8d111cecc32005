"""Room 7: what people say of answers, how far it can be trusted, and what of it is learned."""
