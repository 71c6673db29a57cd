"""MCP, the Model Context Protocol: assistants draw here with tools (docs/faces/mcp.md)."""
