"""The tests are a package, so that a test folder named like one of our packages can never shadow it."""
