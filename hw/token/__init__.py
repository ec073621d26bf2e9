"""The token core: from a token's number to the next one."""
