// What every test includes is compiled with this file, once (thermocline_precompiled in cmake/targets.cmake).
