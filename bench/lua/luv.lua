-- A script that has luv, as one for Corella has its functions from the start.
require("luv")
