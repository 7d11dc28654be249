"""From kernel records to rows: correlation, attribution and naming, without touching the kernel.

Data goes one way: kernel -> tracking -> sources -> model -> collector -> screen. `kernel` reads records; `tracking`
turns them into rows and events; `sources` hands these out in order of time; `model` declares them and has the store
that they fill; `collector` reads a source and fills the store; the screen and the exports show what is in it. So this
package imports nettop.kernel for the records and nettop.model for the rows, and knows no source and no screen.
"""
