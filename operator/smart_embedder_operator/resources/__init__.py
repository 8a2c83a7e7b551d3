"""One pure builder file per child kind."""
