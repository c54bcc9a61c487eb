//! The real binary, driven as users drive it.

mod applications;
mod bad_input;
mod bad_training;
mod crash;
mod datasets;
mod device;
mod forms;
mod generate;
mod heads;
mod inbox;
mod labelled;
mod languages;
mod loop_tiny;
mod models;
mod openai;
mod plugin_command;
mod plugin_folder;
mod plugins;
mod python_client;
mod quickstart;
mod remote;
mod review;
mod seeds;
mod trainer;
mod training;
mod workflows;
