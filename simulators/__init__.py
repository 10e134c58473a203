"""Software PLCs (`servers`) and the physics behind them (`machines`). They meet the controller on the wire only."""
