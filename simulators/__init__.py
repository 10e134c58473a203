"""Software PLCs (`servers`) and the physics behind them (`machines`). Never imports twin or controller: they meet on the wire."""
