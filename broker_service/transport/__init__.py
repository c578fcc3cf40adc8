"""The gRPC servicers: parse a request, call one thing, render its result. No rules stand here."""
