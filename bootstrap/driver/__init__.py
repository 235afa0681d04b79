"""Drivers of bootstrap: asking resolvers and web servers, and running the plan. The only part of ``bootstrap`` that knows Trio."""
