#!/bin/bash
# Help, misuse and exit statuses of every command.
. tests/cli/lib.sh

run "$OCTET"; expect_misuse no_command_is_misuse 'Usage: octet COMMAND'
run "$OCTET" --help; expect_exit help_exits_0 0; expect_stdout help_lists_commands perplexity
expect_no_stderr help_is_on_stdout_only
run "$OCTET" help; expect_exit help_command_exits_0 0
run "$OCTET" --version; expect_exit version_exits_0 0; expect_stdout version_names_octet 'octet '
run "$OCTET" rnu; expect_misuse unknown_command_suggests "did you mean 'run'"
run "$OCTET" frobnicate; expect_misuse unknown_command_is_misuse "unknown command 'frobnicate'"
run "$OCTET" help rnu; expect_misuse help_of_unknown_command "unknown command"

for command in run chat bench perplexity tokenize detokenize inspect synth pull doctor compare \
    report eval prices box serve fim-eval; do
    run "$OCTET" "$command" --help
    expect_exit "${command}_help_exits_0" 0
    expect_stdout "${command}_help_has_usage" "Usage: octet $command"
    expect_stdout "${command}_help_has_examples" "Examples:"
    expect_no_stderr "${command}_help_is_on_stdout"
    cp "$TMP/out" "$TMP/help"
    run "$OCTET" help "$command"
    expect_files_equal "help_${command}_is_the_same" "$TMP/out" "$TMP/help"
    run "$OCTET" "$command" --no-such-option
    expect_misuse "${command}_refuses_unknown_option" "unknown option '--no-such-option'"
    expect_stderr "${command}_hints_at_help" "Try 'octet $command --help'."
done

run "$OCTET" run -m x --tmep 1; expect_misuse nearest_option_is_suggested "did you mean '--temp'"
run "$OCTET" run -p x; expect_misuse model_is_required '--model FILE is missing'
run "$OCTET" run -m; expect_misuse value_is_required '--model needs a value'
run "$OCTET" run -m x -n ten; expect_misuse number_must_be_one "--predict takes a whole number"
run "$OCTET" run -m x -n 1.5; expect_misuse number_must_be_whole "not '1.5'"
run "$OCTET" run -m x -n -2; expect_misuse number_must_be_in_range "from -1 to"
run "$OCTET" run -m x --temp nan; expect_misuse nan_is_refused "not 'nan'"
run "$OCTET" run -m x --top-p 1.1; expect_misuse fraction_must_be_in_range "from 0 to 1"
run "$OCTET" run -m x --seed -1; expect_misuse seed_must_not_be_negative "--seed takes"
run "$OCTET" run -m x --seed 99999999999999999999; expect_misuse seed_must_fit "--seed takes"
run "$OCTET" run -m x --kv q8; expect_misuse choice_must_be_one "one of f16|f32"
run "$OCTET" run -m x --json=yes -p x; expect_misuse flag_takes_no_value "takes no value"
run "$OCTET" run -m x -p a b; expect_misuse run_takes_no_argument "unexpected argument 'b'"
run "$OCTET" run -m x -p a -f b; expect_misuse two_prompts "exclude each other"
run "$OCTET" run -m x -p a --system b; expect_misuse system_needs_chat "--system needs --chat"
run "$OCTET" run -m x -p a --chat-format nope; expect_misuse chat_format_must_exist chatml
run "$OCTET" perplexity -m x; expect_misuse perplexity_needs_text "--file FILE"
run "$OCTET" perplexity -m x -f y --save-logits a --kl-base b
expect_misuse save_and_base_exclude "exclude each other"
run "$OCTET" inspect; expect_misuse inspect_needs_file "too few arguments"
run "$OCTET" synth x; expect_misuse synth_needs_arch "--arch NAME is missing"
run "$OCTET" synth --arch mistral-7b; expect_misuse synth_needs_file "file to write"
run "$OCTET" synth --arch mistral7b x; expect_misuse synth_suggests_arch "did you mean 'mistral-7b'"
run "$OCTET" synth --arch mistral-7b --type q4_k_n x
expect_misuse synth_suggests_type "did you mean"
run "$OCTET" synth --list; expect_exit synth_list_exits_0 0
expect_stdout synth_list_has_types q4_k_m

for command in run chat bench tokenize detokenize; do
    run "$OCTET" "$command" -m "$TMP/none.gguf"
    expect_failure "${command}_names_missing_file" none.gguf
done
run "$OCTET" perplexity -m "$TMP/none.gguf" -f /dev/null
expect_failure perplexity_missing none.gguf
run "$OCTET" inspect "$TMP/none.gguf"; expect_failure inspect_missing none.gguf
run "$OCTET" inspect "$TMP"; expect_exit inspect_of_folder_fails 1
finish
