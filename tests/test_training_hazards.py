"""What bites others who train adapters, and which test holds that it does not bite here.

The rows are those of a survey of what was reported of other trainers, 2022 to 2026. A row without a test has a reason.
"""

import pytest

from tests.test_hazards import ROOT, functions_in

RUN, EFFECTS, PIECES = (f"workers/training/test_{name}.py" for name in ("run", "effects", "pieces"))
FAMILIES, DATASETS = "families/test_training.py", "workers/test_datasets.py"
BEGINNINGS, TRAINABLE, EXPORT, DROPOUT, CONTINUING, PLAN = (
    f"lycoris/training/test_{name}.py"
    for name in ("beginnings", "trainable", "export", "dropout", "continuing", "plan")
)
ROUTES = "app/routes/test_trainings.py"

HELD: dict[str, list[tuple[str, str]]] = {
    "1 captions are not used": [
        (PIECES, "test_hazard_1_missing_captions_are_named"),
        (EFFECTS, "test_hazard_1_captions_are_what_is_trained"),
        (ROUTES, "test_a_dataset_has_several_pictures_and_a_caption_for_each"),
        (DATASETS, "test_captions_are_read_from_texts_tables_and_folders"),
    ],
    "2 captions are cut": [(RUN, "test_hazard_2_captions_over_the_limit_are_named")],
    "3 a stale cache": [
        (PIECES, "test_hazard_3_a_picture_changed_in_place_is_noticed"),
        (RUN, "test_hazard_3_and_5_what_is_kept_changes_no_byte"),
    ],
    "4 captions and caches of one stem": [
        (PIECES, "test_hazard_4_two_pictures_with_one_caption_are_refused"),
        (PIECES, "test_hazard_4_the_same_name_in_two_folders_is_two_pictures"),
    ],
    "5 what is random of captions is frozen": [
        (PIECES, "test_hazard_5_texts_are_decided_by_the_step_alone"),
        (RUN, "test_hazard_3_and_5_what_is_kept_changes_no_byte"),
        (RUN, "test_hazard_5_dropout_of_all_is_training_on_nothing"),
    ],
    "6 buckets drop pictures": [
        (PIECES, "test_hazard_6_every_picture_is_seen_its_repeats_in_every_epoch"),
    ],
    "7 pictures are enlarged or cut": [
        (PIECES, "test_hazard_7_no_picture_is_enlarged"),
        (PIECES, "test_hazard_7_a_picture_below_the_smallest_size_is_named"),
        (PIECES, "test_hazard_7_of_fixed_sizes_the_one_that_keeps_most_is_taken"),
        ("workers/training/test_command.py", "test_the_same_command_goes_on"),  # the dry run has the box
    ],
    "8 orientation": [(PIECES, "test_hazard_8_a_turned_picture_is_the_same_picture")],
    "9 mirrored pictures": [(RUN, "test_hazard_9_mirrored_pictures_are_encoded_on_their_own")],
    "11 a resume is another run": [
        (RUN, "test_hazard_11_killed_at_any_step_it_ends_with_the_same_bytes"),
        (PIECES, "test_hazard_11_a_batch_is_a_function_of_the_seed_and_its_number"),
        ("e2e/test_trainings.py", "test_a_training_that_is_killed_ends_with_the_same_bytes"),
    ],
    "12 a resume restores too little": [(RUN, "test_hazard_12_a_checkpoint_that_is_not_whole_is_refused")],
    "13 the file means another strength": [(EXPORT, "test_hazard_13_the_files_scale_is_the_one_trained_with")],
    "14 one learning rate is not one": [(BEGINNINGS, "test_hazard_14_one_learning_rate_is_not_one_learning_rate")],
    "15 zero in the wrong place": [
        (
            BEGINNINGS,
            "test_hazard_15_nothing_changes_at_first_and_the_first_step_moves_what_is_not_multiplied_by_zero",
        ),
        (RUN, "test_hazard_15_the_first_step_begins_at_the_base_and_moves_one_factor_of_a_pair"),
        (EFFECTS, "test_hazard_15_what_no_loss_reaches_is_an_error"),
    ],
    "16 bfloat16 eats updates": [
        (BEGINNINGS, "test_hazard_16_factors_are_float32_whatever_the_base_is"),
        (RUN, "test_hazard_16_what_is_trained_is_float32_whatever_the_base"),
    ],
    "17 DoRA's magnitude is frozen": [
        (BEGINNINGS, "test_hazard_17_doras_magnitude_is_trained_on_a_half_precision_base"),
    ],
    "18 the moving average": [
        (PIECES, "test_hazard_18_the_average_is_warm"),
        (EFFECTS, "test_hazard_18_the_average_is_what_is_kept_and_what_is_trained_does_not_know_it"),
    ],
    "19 the wrong times of flow matching": [
        (PIECES, "test_hazard_19_times_are_shifted_by_the_size"),
        (PIECES, "test_hazard_19_a_fixed_shift_is_the_schedulers"),
        (FAMILIES, "test_hazard_19_the_shift_is_of_the_size_that_is_trained"),
        (FAMILIES, "test_noise_and_targets_are_those_of_diffusers"),
    ],
    "21 the rate is counted in other units": [(PIECES, "test_hazard_21_rates_are_in_steps_of_the_optimiser")],
    "22 steps and epochs disagree": [(PIECES, "test_hazard_22_pictures_are_counted_over_the_real_batches")],
    "23 captions of unequal length": [
        (FAMILIES, "test_hazard_23_the_loss_of_several_is_the_mean_of_each_alone"),
    ],
    "24 what is not a number": [
        (RUN, "test_hazard_24_a_loss_that_is_not_finite_keeps_the_step_before"),
        (RUN, "test_hazard_24_latents_that_are_not_finite_name_their_picture"),
    ],
    "25 kinds of dropout": [
        (DROPOUT, "test_hazard_25_the_mean_over_many_masks_is_the_change"),
        (DROPOUT, "test_hazard_25_a_step_decides_its_mask_and_nothing_but_the_forward_of_training_has_one"),
        (EFFECTS, "test_hazard_34_every_field_of_a_plan_has_an_effect"),
    ],
    "26 a quantised base": [
        (EXPORT, "test_hazard_26_an_adapter_of_a_quantised_base_is_served_as_it_was_trained"),
        ("lycoris/dialects/test_trained_on.py", "test_our_own_files_say_what_they_were_trained_on"),
    ],
    "27 start values without a seed": [
        (BEGINNINGS, "test_hazard_27_a_value_is_decided_by_the_seed_and_its_name_alone"),
        (RUN, "test_hazard_27_and_30_neither_samples_nor_what_ran_before_change_a_byte"),
    ],
    "28 files that others do not load": [
        (EXPORT, "test_hazard_28_every_name_has_a_place_and_every_layer_all_its_factors"),
        (RUN, "test_hazard_28_and_29_the_file_is_the_training"),
    ],
    "29 continuing from a file loads nothing": [
        (CONTINUING, "test_hazard_29_a_file_of_our_own_gives_back_its_very_factors"),
        (CONTINUING, "test_hazard_29_a_file_that_differs_is_refused_with_the_difference"),
        (RUN, "test_hazard_29_beginning_from_a_file_takes_all_of_it_or_refuses"),
        (ROUTES, "test_it_may_begin_from_an_adapter_of_its_algorithm_and_rank"),
    ],
    "30 samples change the training": [
        (RUN, "test_hazard_27_and_30_neither_samples_nor_what_ran_before_change_a_byte"),
        (RUN, "test_hazard_30_a_sample_that_fails_is_no_end"),
        (EFFECTS, "test_hazard_30_samples_leave_no_tensor_behind"),
    ],
    "31 samples are not what is served": [(FAMILIES, "test_hazard_31_a_sample_is_the_picture_that_the_service_draws")],
    "32 a stop loses work": [
        (RUN, "test_hazard_32_a_checkpoint_that_is_cut_off_is_passed_over"),
        (RUN, "test_hazard_32_a_full_disk_ends_it_with_a_sentence_and_the_checkpoint_before"),
        (RUN, "test_a_cancel_is_heard_within_a_step_and_keeps_the_last_whole_one"),
    ],
    "33 text encoders": [
        (TRAINABLE, "test_hazard_33_the_listed_factors_are_trained_and_no_other"),
        (RUN, "test_hazard_33_text_encoders_are_trained_where_asked_with_and_without_checkpointing"),
    ],
    "34 options that are void": [
        (EFFECTS, "test_hazard_34_every_field_of_a_plan_has_an_effect"),
        (EFFECTS, "test_hazard_34_dropout_of_ranks_that_no_layer_has_is_refused"),
        (PIECES, "test_hazard_34_what_cannot_be_or_does_nothing_is_refused"),
        (PLAN, "test_hazard_34_values_without_meaning_are_refused_by_name"),
        (PLAN, "test_hazard_34_every_option_changes_the_file"),
    ],
}
NOT_HERE: dict[str, str] = {
    "10 prior preservation": "there are no pictures of a prior: nobody has asked for them",
    "20 optimisers that find their own rate": "AdamW alone, whose rate is the request's or the algorithm's",
}


def test_every_row_has_a_test_or_a_reason() -> None:
    rows = [int(row.split()[0]) for row in (*HELD, *NOT_HERE)]
    assert sorted(rows) == [*range(1, 35)]
    assert all(HELD.values())


@pytest.mark.parametrize("row", HELD)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    for file, name in HELD[row]:
        assert name in functions_in(ROOT / file), f"{file} has no {name}"
